"""Figures as pure functions: prepared runs → points (a DataFrame) → a plotly figure. No Dash, no store."""
