"""Modules that at least two networks use: convolutions, backbones, pyramids, attention."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aspp": ["ASPP"],
        "atrous_vgg": ["AtrousVGG"],
        "conv": [
            "center_crop",
            "conv_bn",
            "conv_bn_relu",
            "conv_gn_relu",
            "conv_relu",
            "kaiming_normal_",
            "normal_",
            "zero_init_",
        ],
        "fpn": ["FPN"],
        "resnet": ["BasicBlock", "Bottleneck", "ResNet"],
        "rpn": ["RPN"],
        "transformer": [
            "Attention",
            "DecoderLayer",
            "EncoderLayer",
            "Transformer",
            "sine_pos_embed",
        ],
        "unpooling": ["Maxima", "pool", "unpool"],
        "upsample": ["bilinear_kernel", "bilinear_upsample", "resize"],
        "vgg": ["VGG"],
        "xception": ["Xception", "separable_conv"],
    },
)
