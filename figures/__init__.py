"""Results as figures: one definition each, written as Plotly JSON or drawn as PNG and SVG.

A figure is a description of what is to be seen (`parts`): panels of lines, points, bands, bars and cells with axes and
units. `analysis`, `model` and `forecast` make descriptions from result documents; `plotly` writes them as Plotly JSON,
`drawing` draws the same with matplotlib. No figure holds a number that the document and its series do not hold.
"""
