"""What each client holds, as text."""

from results.partition_record import PartitionRecord

TOP = 3
"""Labels named for each client."""


def summary_rows(record: PartitionRecord) -> list[tuple[str, str]]:
    """The statistics of a partition, each with what it is."""
    sizes, rows = record.sizes, []
    rows.append(("skewed by", record.skewed_by or "nothing (or size only)"))
    rows.append(("clients", f"{len(sizes)}"))
    spread = f"smallest {sizes.min()}, median {sizes.median():g}, largest {sizes.max()}"
    rows.append((f"examples ({record.split} split)", f"{sizes.sum()}; of a client: {spread}"))
    for kind, counts in record.counts.items():
        if not (found := record.statistics[kind]):
            continue
        what = f"{kind}s"
        divergence = found["js_divergence_bits"]
        rows += [
            (what, f"{counts.shape[1]}"),
            (
                f"effective number of {what}",
                f"{found['effective_classes_mean']:.2f} a client (mean); {found['effective_classes_all']:.2f} together",
            ),
            (
                f"Jensen-Shannon divergence, {what}",
                "one client" if divergence is None else f"{divergence:.3f} bits, mean over pairs of clients",
            ),
            (
                f"earth mover's distance, {what}",
                f"{found['total_variation_mean']:.3f} to all examples (mean), {found['total_variation_max']:.3f} "
                "largest (total variation)",
            ),
        ]
    return rows


def client_rows(record: PartitionRecord, kind: str, first: int, last: int) -> list[list[str]]:
    """A heading and a row a client: number, examples, effective number, distance, and the most frequent labels.

    Args:
        record: of the partition.
        kind: ``label``, ``group`` or ``cluster``.
        first: clients to show from the beginning.
        last: clients to show from the end, after a row of dots; all are shown if there are not more than both.
    """
    shares, measures = record.shares(kind), record.measures[kind]
    rows = [["client", "examples", f"effective {kind}s", "distance to all", f"most frequent {kind}s"]]
    clients = list(record.sizes.index)
    shown = clients if len(clients) <= first + last + 1 else clients[:first] + clients[-last:]
    before = None
    for client in shown:
        if before is not None and client != clients[clients.index(before) + 1]:
            rows.append(["..."] * len(rows[0]))
        held = shares.loc[client].dropna()
        top = held[held > 0].sort_values(ascending=False, kind="stable")[:TOP]
        numbers = [f"{value:.2f}" for value in measures.loc[client].to_numpy()]
        names = ", ".join(f"{name} {share:.0f} %" for name, share in zip(top.index.astype(str), top, strict=True))
        rows.append([f"{client}", f"{record.sizes[client]}", *numbers, names])
        before = client
    return rows
