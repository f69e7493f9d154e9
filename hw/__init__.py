"""What hardware is and costs: formats, specs, technology nodes, memories, area and energy."""
