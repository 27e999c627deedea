"""The table of a tuning's trials."""

import pandas as pd

from results import trials


def test_a_grid_of_lists_and_of_what_a_method_lacks():
    """Two points of one method whose value is a list or a word, and a method without that setting."""
    rows = pd.DataFrame(
        {
            "method": ["lora", "lora", "fedavg"],
            "train.lr": [0.001, 0.001, 0.002],
            "method.target_modules": [["q_proj", "v_proj"], "all-linear", None],
            "seed": [0, 0, 0],
            "metric": ["f1", "f1", "f1"],
            "validation": [50.0, 60.0, float("nan")],
            "test": [51.0, 61.0, float("nan")],
            "best_round": [2.0, 3.0, float("nan")],
            "bytes_total": [1e6, 2e6, float("nan")],
            "seconds": [1.0, 2.0, float("nan")],
            "chosen": [False, True, False],
        }
    )
    lines = trials.text(rows).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:5]]
    assert cells == [
        ["lora", "0.001", "q_proj, v_proj", "50.0", "51.0", "2", "1 MB", "1", ""],
        ["lora", "0.001", "all-linear", "60.0", "61.0", "3", "2 MB", "2", "yes"],
        ["fedavg", "0.002", "–", "–", "–", "–", "–", "–", ""],
    ]
