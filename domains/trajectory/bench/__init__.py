"""What guided sampling of scenes costs."""
