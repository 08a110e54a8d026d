"""A small ResNet over pictures, trained from scratch: similar things get near vectors."""
