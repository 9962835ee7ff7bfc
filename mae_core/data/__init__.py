"""What datasets of different modalities have in common: folders of files, and boxes to crop."""
