"""What patching would find, estimated from gradients: parts, edges, inputs."""
