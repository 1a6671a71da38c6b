"""Operations on latents: `Latent` in, `Latent` out; noise mask and batch index travel as they do in ComfyUI."""
