"""`vo3d places`: maps of places out of images, and the images of a map that show where others were taken."""
