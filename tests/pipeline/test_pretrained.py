"""A vision transformer through the whole pipeline, with CLS tokens and with all of its tokens."""

from pathlib import Path

import pytest
import transformers

from orbitlens.pipeline import RunConfig, run

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 16,
    "patch_size": 8,
}


@pytest.mark.parametrize(("positions", "n"), [("cls", 1), ("mean", 1), ("all", 5)])
def test_tokens_of_a_transformer(tmp_path: Path, positions: str, n: int) -> None:
    transformers.ViTConfig(**SIZES).save_pretrained(tmp_path / "vit")
    config = RunConfig.for_source(
        "digits",
        model=f"hf:{tmp_path / 'vit'}",
        random_weights=True,
        layer="layers.1",
        positions=positions,
        image_size=16,
        n_samples=60,
        d_sae=16,
        k=4,
        epochs=2,
        features=1,
        probe_latents=(4,),
    )
    metrics = run(config, tmp_path / "out")
    assert metrics["model"]["positions"] == n
    assert metrics["model"]["dim"] == 16
    assert metrics["model"]["mse"] is None
    assert metrics["transport"]["r2"] > metrics["transport"]["identity_r2"]
    assert metrics["saes"]["vanilla"]["probe"]["kind"] == "logistic"
