"""Modules by modality, whatever a cohort calls its modalities."""

from collections.abc import ItemsView, Iterator, Mapping

from torch import nn


class ByModality(nn.Module):
    """Modules by name, in the order given, where a name may hold a dot or be an attribute of every module (``type``, ``items``).

    Such names, which torch refuses, stand in the state as ``%lab%2Ea`` does for ``lab.a``; all others as they are.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self._keys = {name: self._key(name) for name in modules}
        for name, module in modules.items():
            self.add_module(self._keys[name], module)

    def __getitem__(self, name: str) -> nn.Module:
        """Give the module of a modality."""
        return self.get_submodule(self._keys[name])

    def __iter__(self) -> Iterator[str]:
        """Go through the names."""
        return iter(self._keys)

    def items(self) -> ItemsView[str, nn.Module]:
        """Pair each name with its module."""
        return {name: self[name] for name in self}.items()

    def _key(self, name: str) -> str:
        if "." not in name and not name.startswith("%") and not hasattr(self, name):
            return name
        return "%" + name.replace("%", "%25").replace(".", "%2E")
