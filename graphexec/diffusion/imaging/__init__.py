"""Operations on pictures and masks: plain tensors in, plain tensors out."""
