"""The encoder and its heads. `config` imports nothing heavy; everything else here imports PyTorch."""
