from tests.data_roots import data_root

__all__ = ["data_root"]
