"""Figures as pure functions: runs → points (a DataFrame) → a plotly figure, without Dash or a store."""
