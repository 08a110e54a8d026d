"""The demo shop: a catalogue, its pictures and simulated shoppers, all invented here."""
