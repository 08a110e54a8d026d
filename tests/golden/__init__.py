"""What the product answers to 250 requests, recorded, so that a change of structure can be checked against it."""
