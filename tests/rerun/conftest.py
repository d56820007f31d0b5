from tests.archive.conftest import image, micrograph, recipe, restoration

__all__ = ["image", "micrograph", "recipe", "restoration"]
