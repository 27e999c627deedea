"""The methods, one file each: layer skipping and all it is compared with.

To add a method, write one file with a subclass of `simulate.method.Method` and add its line here.
"""

METHODS: dict[str, str] = {
    "layer_skipping": "baselines.layer_skipping:LayerSkipping",
    "fedavg": "baselines.fedavg:FedAvg",
    "fedprox": "baselines.fedprox:FedProx",
    "lora": "baselines.lora:LoRA",
    "centralized": "baselines.centralized:Centralized",
    "local_only": "baselines.local_only:LocalOnly",
}
"""Name in the configuration -> where the class is."""
