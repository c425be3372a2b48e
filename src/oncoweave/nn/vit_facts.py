"""What is published of vision transformers for tiles, and what is known of ours: title, licence, resolution, count, citation.

Licence, input and shape as TRIDENT, lazyslide-models and the encoders' own pages state them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What the configuration of an encoder does not say; fields as in :class:`oncoweave.core.card.TileCard`."""

    title: str
    licence: str
    tile: int
    mpp: tuple[float, ...] = (0.5,)
    parameters: int
    citation: str
    weights: str = ""
    notes: str = ""


def _own(title: str, *, parameters: int) -> Facts:
    citation = "Dosovitskiy et al., ICLR 2021"
    return Facts(title=title, licence="no weights published", tile=256, parameters=parameters, citation=citation)


FACTS = {
    "tiny": _own("ViT-Ti/16, to be trained", parameters=5_529_024),
    "nano": Facts(
        title="ViT/16 of four layers, 96 wide, to be trained without a GPU",
        licence="Apache-2.0, with the package (built in)",
        tile=112,
        mpp=(1.0,),
        parameters=541_152,
        citation="Dosovitskiy et al., ICLR 2021",
    ),
    "small": _own("ViT-S/16, to be trained", parameters=21_674_880),
    "small-registers": _own("ViT-S/16 with 4 registers, to be trained", parameters=21_676_032),
    "base": _own("ViT-B/16, to be trained", parameters=85_817_088),
    "large": _own("ViT-L/16, to be trained", parameters=303_350_784),
    "giant": _own("ViT-g/16 of the size of GigaPath, to be trained", parameters=1_134_953_984),
    "gigapath": Facts(
        title="Prov-GigaPath tile encoder, ViT-g/16",
        licence="Apache-2.0 with conditions",
        tile=256,
        parameters=1_134_953_984,
        citation="Xu et al., Nature 2024, doi:10.1038/s41586-024-07441-w",
        weights="hf-hub:prov-gigapath/prov-gigapath",
        notes="The paper says ViT-g/14; the weights have patches of 16 px. The outer 16 px of a tile are not seen.",
    ),
    "gigapath-flash": Facts(
        title="Prov-GigaPath-Flash tile encoder, ViT-S/16 with SwiGLU",
        licence="not verified",
        tile=256,
        parameters=21_681_024,
        citation="not verified",
        weights="hf-hub:prov-gigapath/prov-gigapath-flash",
        notes="Shape and input as TRIDENT builds it; tile side and resolution taken to be GigaPath's.",
    ),
    "virchow": Facts(
        title="Virchow, ViT-H/14",
        licence="Apache-2.0",
        tile=224,
        parameters=631_229_184,
        citation="Vorontsov et al., Nature Medicine 2024, doi:10.1038/s41591-024-03141-0",
        weights="hf-hub:paige-ai/Virchow",
    ),
    "virchow2": Facts(
        title="Virchow2, ViT-H/14 with 4 registers",
        licence="CC-BY-NC-ND-4.0",
        tile=224,
        mpp=(0.5, 0.25, 1.0, 2.0),
        parameters=631_239_424,
        citation="Zimmermann et al. 2024, arXiv:2408.00738",
        weights="hf-hub:paige-ai/Virchow2",
    ),
    "uni": Facts(
        title="UNI, ViT-L/16",
        licence="CC-BY-NC-ND-4.0",
        tile=256,
        parameters=303_350_784,
        citation="Chen et al., Nature Medicine 2024, doi:10.1038/s41591-024-02857-3",
        weights="hf-hub:MahmoodLab/UNI",
    ),
    "uni2-h": Facts(
        title="UNI2-h, ViT-H/14 with 8 registers",
        licence="CC-BY-NC-ND-4.0",
        tile=256,
        parameters=681_394_176,
        citation="Chen et al., Nature Medicine 2024, doi:10.1038/s41591-024-02857-3",
        weights="hf-hub:MahmoodLab/UNI2-h",
    ),
    "h-optimus-0": Facts(
        title="H-optimus-0, ViT-g/14 with 4 registers",
        licence="Apache-2.0",
        tile=224,
        parameters=1_134_774_272,
        citation="Saillard et al. 2024, H-optimus-0, bioptimus/releases on GitHub",
        weights="hf-hub:bioptimus/H-optimus-0",
    ),
    "h-optimus-1": Facts(
        title="H-optimus-1, ViT-g/14 with 4 registers",
        licence="CC-BY-NC-ND-4.0",
        tile=224,
        parameters=1_134_774_272,
        citation="Bioptimus 2025, H-optimus-1",
        weights="hf-hub:bioptimus/H-optimus-1",
    ),
    "h0-mini": Facts(
        title="H0-mini, ViT-B/14 with 4 registers, distilled from H-optimus-0",
        licence="CC-BY-NC-ND-4.0",
        tile=224,
        parameters=85_739_520,
        citation="Filiot et al. 2025, arXiv:2501.16239",
        weights="hf-hub:bioptimus/H0-mini",
        notes="Hidden width inferred from the published count of 85.7 million; some users take cls+mean.",
    ),
    "phikon": Facts(
        title="Phikon, ViT-B/16",
        licence="Owkin non-commercial",
        tile=224,
        parameters=85_798_656,
        citation="Filiot et al. 2023, doi:10.1101/2023.07.21.23292757",
        weights="hf-hub:owkin/phikon",
        notes="Epsilon of LayerNorm is Hugging Face's default, not verified.",
    ),
    "phikon-v2": Facts(
        title="Phikon-v2, ViT-L/16",
        licence="Owkin non-commercial",
        tile=224,
        parameters=303_350_784,
        citation="Filiot et al. 2024, arXiv:2409.09173",
        weights="hf-hub:owkin/phikon-v2",
        notes="Grid of stored positions (14 x 14) inferred from the published count of 303.4 million.",
    ),
}
"""By variant of ``encoders/vit.py``."""
