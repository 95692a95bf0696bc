"""Policy gradients in Lipschitz MDPs: constants, bounds and step sizes with guaranteed improvement."""
