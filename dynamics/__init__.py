"""What is done with series and maps: embedding, Lyapunov exponents, forcing, training, measures, forecasts."""
