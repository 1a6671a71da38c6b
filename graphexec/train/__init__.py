"""Training of LoRAs: data, network, loss, loop and the files that come out. A part of the tensor half."""
