"""layerprobe: how many layers does an LLM recommender need?"""

__version__ = "0.1.0"
