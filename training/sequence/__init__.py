"""What a shopper takes next, out of the whole catalogue: learned from histories and from what items are called."""
