"""How fast a run is, as ratios: against mdistiller's own trainer, against plain training, against torchvision."""
