"""What the product answers to 500 requests, recorded, so that a change of structure can be checked against it."""
