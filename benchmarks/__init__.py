"""How fast a run is, as ratios: against mdistiller's own trainer, plain training, torchvision's transforms, NumPy."""
