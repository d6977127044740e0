"""Object detection and instance segmentation on COCO: detectors of torchvision, distilled by the package's losses."""
