"""Pictures to learn from: embedded, downloaded, or the user's own folders and archives."""

from garl.data.cache import cache_dir
from garl.data.download import DATASETS, Dataset, describe, download
from garl.data.images import Images, load

__all__ = ["DATASETS", "Dataset", "Images", "cache_dir", "describe", "download", "load"]
