"""Policy gradients in Lipschitz MDPs: constants, bounds, step sizes with guaranteed improvement (Pirotta et al., 2015)."""
