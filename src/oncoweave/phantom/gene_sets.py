"""Gene sets of a phantom cohort: pathways that carry a planted factor, pathways that carry none, and genes of no set.

Symbols are those of the HUGO Gene Nomenclature Committee. Membership follows general knowledge of each process; the planting is
ours and says nothing about real tumours.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneSet:
    """A pathway and the factor that moves it."""

    name: str
    factor: str | None
    """Field of ``PatientTruth`` that moves the genes; None for a decoy."""
    loading: float
    """Change of the log (natural) mean count for one unit of the factor, averaged over the genes."""
    genes: tuple[str, ...]


def _set(name: str, factor: str | None, loading: float, genes: str) -> GeneSet:
    return GeneSet(name=name, factor=factor, loading=loading, genes=tuple(genes.split()))


PLANTED = (
    _set("CELL_CYCLE", "proliferation", 0.42, """
        MKI67 TOP2A CCNB1 CCNB2 CCNA2 CCNE1 CDK1 PLK1 AURKA AURKB BUB1 BUB1B CDC20 CDC25C BIRC5 TTK NEK2 KIF11 KIF20A KIF23
        CENPA CENPE CENPF FOXM1 MYBL2 TPX2 UBE2C PCNA MCM2 MCM3 MCM4 MCM5 MCM6 MCM7 RRM2 TYMS E2F1 CHEK1 RAD51 DLGAP5"""),
    _set("T_CELL_INFILTRATION", "immune", 0.5, """
        CD3D CD3E CD3G CD2 CD5 CD6 CD7 CD8A CD8B CD27 CD28 CD247 LCK ZAP70 ITK PRF1 GZMA GZMB GZMK GZMH GNLY NKG7 IL7R CCR7
        SELL TRAC TRBC1 TIGIT CTLA4 PDCD1 LAG3 ICOS CXCR3 CCL5 IL2RG"""),
    _set("INTERFERON_GAMMA_RESPONSE", "immune", 0.38, """
        IFNG STAT1 IRF1 IRF8 CXCL9 CXCL10 CXCL11 IDO1 GBP1 GBP2 GBP4 GBP5 HLA-DRA HLA-DRB1 HLA-DPA1 HLA-DPB1 HLA-A HLA-B HLA-C
        B2M TAP1 TAP2 PSMB8 PSMB9 CIITA WARS1 SOCS1 CD274"""),
    _set("HYPOXIA", "private_expression", 0.48, """
        CA9 VEGFA SLC2A1 SLC2A3 HK2 PFKFB3 PFKFB4 PGK1 LDHA ENO1 ALDOA NDRG1 ADM ANKRD37 BNIP3 BNIP3L EGLN3 P4HA1 P4HA2 PDK1
        ANGPTL4 MXI1 KDM3A HILPDA ERO1A DDIT4 STC2 LOX"""),
    _set("TGF_BETA_SIGNALLING", "synergy_expression", 0.48, """
        TGFB1 TGFB2 TGFB3 TGFBI TGFBR1 TGFBR2 SMAD3 SMAD6 SMAD7 SERPINE1 CCN1 CCN2 THBS1 LTBP1 LTBP2 INHBA SKIL PMEPA1 BAMBI
        ID1 ID3 LTBP3 TGIF1 JUNB"""),
    _set("MAPK_OUTPUT", "driver_a", 0.6, """
        DUSP4 DUSP5 DUSP6 SPRY2 SPRY4 SPRED1 SPRED2 ETV4 ETV5 PHLDA1 EPHA2 EPHA4 FOSL1 EGR1 CCND1 IER3 EMP1 HMGA1"""),
    _set("P53_TARGETS", "driver_b", -0.65, """
        CDKN1A MDM2 BAX BBC3 FAS GADD45A SESN1 SESN2 TP53I3 TP53INP1 RRM2B FDXR ZMAT3 TNFRSF10B PHLDA3 FBXW7 AEN EDA2R"""),
    _set("GLANDULAR_LINEAGE", "is_glandular", 0.9, """
        KRT7 KRT8 KRT18 KRT19 KRT20 CDH17 MUC1 MUC5AC MUC13 TFF1 TFF3 CEACAM5 CEACAM6 EPCAM CLDN3 CLDN4 AGR2 GPA33 LGALS4
        SPINK1"""),
    _set("SQUAMOID_LINEAGE", "is_solid", 0.9, """
        KRT5 KRT6A KRT6B KRT14 KRT15 KRT16 KRT17 TP63 SOX2 DSG3 DSC3 PKP1 SPRR1B SPRR3 IVL TRIM29 SERPINB3 SERPINB5 PERP
        S100A2"""),
    _set("LOSS_OF_COHESION", "is_discohesive", 0.7, """
        VIM ZEB1 ZEB2 SNAI1 SNAI2 TWIST1 FN1 CDH2 MMP2 MMP9 MMP14 ITGA5 SPARC TNC"""),
)  # fmt: skip
DECOYS = (
    _set("OXIDATIVE_PHOSPHORYLATION", None, 0.0, """
        NDUFA1 NDUFA2 NDUFA9 NDUFB3 NDUFB8 NDUFS1 NDUFS3 SDHA SDHB UQCRC1 UQCRC2 UQCRH COX4I1 COX5A COX6C COX7B ATP5F1A ATP5F1B
        ATP5MC1 CYC1"""),
    _set("RIBOSOME", None, 0.0, """
        RPL3 RPL4 RPL5 RPL8 RPL11 RPL13 RPL15 RPL23 RPS2 RPS3 RPS4X RPS6 RPS8 RPS14 RPS18 RPS19 RPS24 RPLP0 RPLP1 RPLP2"""),
    _set("WNT_SIGNALLING", None, 0.0, """
        WNT3 WNT5A WNT7B FZD1 FZD2 FZD7 LRP5 LRP6 DVL1 DVL2 AXIN1 AXIN2 APC CTNNB1 TCF7 TCF7L2 LEF1 DKK1 DKK3 NKD1 LGR5 RNF43
        ZNRF3"""),
    _set("NOTCH_SIGNALLING", None, 0.0, "NOTCH1 NOTCH2 NOTCH3 JAG1 JAG2 DLL1 DLL4 HES1 HEY1 HEYL MAML1 RBPJ NUMB ADAM17 PSEN1"),
    _set("LIPID_METABOLISM", None, 0.0, """
        FASN ACACA SCD HMGCR HMGCS1 LDLR SREBF1 SREBF2 SQLE FDFT1 CPT1A ACADM ACOX1 PPARA PPARG LPL FABP4 FABP5 CD36 PLIN2"""),
    _set("APOPTOSIS", None, 0.0, """
        CASP3 CASP7 CASP8 CASP9 BCL2 BCL2L1 MCL1 BID BAD BAK1 APAF1 XIAP CFLAR FADD CYCS DIABLO TNFRSF1A RIPK1"""),
    _set("UNFOLDED_PROTEIN_RESPONSE", None, 0.0, """
        HSPA5 HSP90B1 XBP1 ATF4 ATF6 DDIT3 ERN1 EIF2AK3 DNAJB9 DNAJC3 PDIA4 PDIA6 CALR CANX EDEM1 SEL1L HERPUD1"""),
    _set("COMPLEMENT", None, 0.0, "C1QA C1QB C1QC C1R C1S C2 C3 C4A CFB CFD CFH CFI SERPING1 CD46 CD55 CD59 VSIG4"),
    _set("COAGULATION", None, 0.0, "F2 F3 F5 F7 F8 F9 F10 F11 F13A1 FGA FGB FGG PLAT PLAU SERPINC1 VWF PROC PROS1 TFPI"),
    _set("DNA_REPAIR", None, 0.0, """
        BRCA1 BRCA2 ATM ATR XRCC1 XRCC5 XRCC6 LIG1 LIG3 PARP1 POLB ERCC1 ERCC2 XPA XPC MSH2 MSH6 MLH1 PMS2 RPA1"""),
)  # fmt: skip
UNASSIGNED = _set("UNASSIGNED", None, 0.0, """
    ACTB GAPDH TUBB TUBA1B PPIA HPRT1 TBP GUSB YWHAZ UBC SDHD EEF1A1 EEF2 HNRNPA1 HNRNPK SRSF1 SRSF3 U2AF1 SF3B1 DDX5 DHX9
    XRN2 PABPC1 EIF4A1 EIF4E EIF3A NCL NPM1 FBL SOD1 SOD2 CAT GPX1 GPX4 PRDX1 PRDX2 TXN TXNRD1 GSTP1 NQO1 HMOX1 FTH1 FTL TFRC
    SLC7A5 SLC3A2 SLC38A2 ATP1A1 ATP1B1 CLTC AP2M1 RAB5A RAB7A RAB11A ARF1 SEC61A1 SEC61B COPA COPB1 VAMP3 LAMP1 LAMP2 CTSB
    CTSD""").genes  # fmt: skip
"""Genes of no set: housekeeping and the like."""


def all_genes() -> tuple[str, ...]:
    """List every gene once, in the order of the sets."""
    names = [g for s in (*PLANTED, *DECOYS) for g in s.genes]
    return tuple(dict.fromkeys([*names, *UNASSIGNED]))


def gmt() -> str:
    """Give all sets in the GMT format: name, a description, genes; separated by tabs. Nothing tells planted sets from decoys."""
    ordered = sorted((*PLANTED, *DECOYS), key=lambda s: s.name)
    return "".join("\t".join([s.name, "phantom gene set", *s.genes]) + "\n" for s in ordered)
