"""What several test modules share: golden data, seeded weights, the official predictor."""
