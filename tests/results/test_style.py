import matplotlib

from results import style


def test_a_method_looks_the_same_in_every_figure():
    alone = style.line_styles({"LoRA (rank 8)": "lora"})
    among = style.line_styles({"FedAvg": "fedavg", "LoRA (rank 8)": "lora", "Mine": "mine"})
    assert alone["LoRA (rank 8)"] == among["LoRA (rank 8)"] == style.METHOD_STYLES["lora"]


def test_lines_of_one_method_and_unknown_methods_differ():
    labels = {f"Layer skipping ({k}/16 layers)": "layer_skipping" for k in range(16)}
    labels |= {"FedAvg": "fedavg", "Mine": "mine", "Yours": "yours"}
    styles = style.line_styles(labels)
    assert list(styles) == list(labels)
    assert len(set(styles.values())) == len(labels)


def test_known_methods_read_in_grey():
    methods = list(style.METHOD_STYLES.values())
    assert len({line.dashes for line in methods}) == len(methods)
    assert len({line.color for line in methods}) == len(methods)
    markers = [line.marker for line in methods if line.marker]
    assert len(set(markers)) == len(markers) == 4


def test_the_style_does_not_leak():
    before = dict(matplotlib.rcParams)
    with style.paper():
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert dict(matplotlib.rcParams) == before
