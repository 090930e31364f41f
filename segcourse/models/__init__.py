"""Networks: every landmark of segmentation, built from scratch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "deconvnet": ["DeconvNet"],
        "dense_fcn": ["chain", "remove_strides", "shift_and_stitch", "upsample_dense"],
        "deeplab_v1": ["DeepLabV1"],
        "deeplab_v2": ["DeepLabV2"],
        "deeplab_v3": ["DeepLabV3"],
        "deeplab_v3_plus": ["DeepLabV3Plus"],
        "detr": ["DETR", "DETROutput", "detections"],
        "fcn": ["FCN", "crop_offsets", "fuse"],
        "fcn_resnet": ["FCNResNet"],
        "gfrnet": ["GFRNet"],
        "mask_rcnn": ["MaskRCNN"],
        "mask_scoring": ["MaskScoringRCNN"],
        "panoptic_fpn": ["PanopticFPN"],
        "pspnet": ["PSPNet", "PyramidPooling"],
        "refinenet": ["RefineNet"],
        "segnet": ["SegNet", "SegNetBasic"],
        "unet": ["UNet", "overlap_tile"],
    },
)
