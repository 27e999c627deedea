"""From run folders to tidy frames, tables and figures; knows neither torch nor the engine."""
