"""What datasets of different modalities have in common: folders of files, boxes to crop, and the statistics of channels."""
