"""What people decide: drafts, publishes, history, and snapshots that services watch."""
