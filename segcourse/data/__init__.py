"""Data sets, transforms and what checks them; every item of a data set is a ``Sample``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "camvid",
        "coco",
        "dots",
        "dsb2018",
        "pennfudan",
        "photographs",
        "signs",
        "toytown",
        "transforms",
    ],
    submod_attrs={
        "camvid": ["CamVid"],
        "checklist": ["Report", "inspect"],
        "coco": ["CocoInstances", "CocoResults", "CocoTarget", "read_panoptic"],
        "dots": ["Dots"],
        "download": ["fetch", "unpack"],
        "dsb2018": ["DSB2018"],
        "files": ["find_folder", "load_image", "load_labels"],
        "label_alignment": ["Alignment", "alignment"],
        "pennfudan": ["PennFudan"],
        "photographs": ["Photographs", "load_photographs"],
        "results": ["measured", "pack_array", "unpack_array"],
        "sample": ["Cached", "Sample", "batches", "stack"],
        "signs": ["Signed"],
        "toytown": ["Toytown"],
        "transforms": ["Transformed"],
    },
)
