"""The image encoder: a small ResNet trained from scratch, whose vectors are near for similar products."""
