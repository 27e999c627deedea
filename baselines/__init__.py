"""The methods, one file each: layer skipping and all it is compared with.

To add a method, write one file with a subclass of `simulate.method.Method` and add its line here.
"""

METHODS: dict[str, str] = {
    "layer_skipping": "baselines.layer_skipping:LayerSkipping",
    "fedavg": "baselines.fedavg:FedAvg",
    "fedprox": "baselines.fedprox:FedProx",
    "lora": "baselines.lora:LoRA",
    "ffa_lora": "baselines.ffa_lora:FFALoRA",
    "fedex_lora": "baselines.fedex_lora:FedExLoRA",
    "flora": "baselines.flora:FLoRA",
    "scaffold": "baselines.scaffold:Scaffold",
    "fednova": "baselines.fednova:FedNova",
    "fedper": "baselines.fedper:FedPer",
    "head_only": "baselines.head_only:HeadOnly",
    "centralized": "baselines.centralized:Centralized",
    "local_only": "baselines.local_only:LocalOnly",
}
"""Name in the configuration -> where the class is."""

COMPARED = ("layer_skipping", "fedavg", "fedprox", "lora", "centralized", "local_only")
"""What a comparison runs if not told which methods: layer skipping, the baselines that its paper names, the bounds."""
