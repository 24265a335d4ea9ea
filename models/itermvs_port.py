"""The keys of the authors' checkpoints of IterMVS."""

from vo3d.formats.weights import KeyMap

# RGB scaled to [-1, 1], eval-mode normalisation, corner-aligned sampling
AUTHORS = KeyMap(
    source="IterMVS (FangjinhuaWang/IterMVS)",
    signature=("feature_net.conv1.conv.weight", "iter_mvs.update.gru.convz.weight"),
    rename={
        r"feature_net\.conv1\.conv\.(.*)": r"features.stem.conv.\1",
        r"feature_net\.conv1\.bn\.(.*)": r"features.stem.norm.\1",
        **{
            rf"feature_net\.layer{level}\.(\d)\.{theirs}\.{part}\.(.*)": (
                rf"features.stages.{level - 1}.\1.{ours}.{'norm' if part == 'bn' else part}.\2"
            )
            for level in (1, 2, 3)
            for theirs, ours in (("conv1", "conv1"), ("conv2", "conv2"), ("downsample", "shortcut"))
            for part in ("conv", "bn")
        },
        **{
            rf"feature_net\.{theirs}{level}\.(.*)": rf"features.{ours}.{level - 1}.\1"
            for theirs, ours, levels in (("inner", "lateral", (1, 2)), ("output", "out", (1, 2, 3)))
            for level in levels
        },
        r"iter_mvs\.evaluation\.pixel_view_weight\.conv\.0\.conv\.(.*)": r"view_weight.conv.\1",
        r"iter_mvs\.evaluation\.pixel_view_weight\.conv\.1\.(.*)": r"view_weight.score.\1",
        **{
            rf"iter_mvs\.evaluation\.corr_conv1\.(\d)\.{theirs}\.(.*)": rf"matching.\1.{ours}.\2"
            for theirs, ours in (
                (r"conv0\.conv", "conv0"),
                (r"conv1\.conv", "conv1"),
                (r"conv2\.conv", "conv2"),
                ("conv3", "up1"),
                ("conv4", "up0"),
                ("conv5", "score"),
            )
        },
        **{
            rf"iter_mvs\.update\.{theirs}\.(.*)": rf"estimate.{ours}.\1"
            for theirs, ours in (
                (r"gru\.convz", "update"),
                (r"gru\.convr", "reset"),
                (r"gru\.convq", "candidate"),
                ("depth_head", "depth"),
                ("confidence_head", "confidence"),
                ("hidden_init_head", "start"),
            )
        },
        r"iter_mvs\.upsample\.(.*)": r"upsampling.weights.\1",
    },
    drop=(r"feature_net\.inner3\..*",),  # made, saved and never used by the authors' program
    keep=(r"features\.stages\..*\.pool\.beta",),
    settings=lambda _: {"pool": "stride"},
    needs='pool "stride"',
)
