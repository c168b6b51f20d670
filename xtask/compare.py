#!/usr/bin/env python3
"""PyTorch's side of `cargo xtask compare`: python compare.py MODEL FOLDER

Makes a randomly initialised model of real size under PyTorch's own names, and writes into FOLDER

  weights.safetensors   the model, f32
  inputs.safetensors    what it is given
  expected.safetensors  logits, loss, the gradient of every parameter ("gradient.NAME") and, for resnet50, what training
                        leaves in the buffers ("buffer.NAME"), all computed in f64; and "error.KEY" for each: how far
                        PyTorch's own f32 results are from them, as a share of their norm
"""
import copy
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config()).eval()
    inputs = {"ids": torch.randint(0, model.config.vocab_size, (2, 64))}

    def run(model, inputs):
        logits = model(inputs["ids"]).logits
        return logits, F.cross_entropy(logits[:, :-1].flatten(0, 1), inputs["ids"][:, 1:].flatten())

    return model, inputs, run


def bert():
    from transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(BertConfig()).eval()
    ids = torch.randint(0, model.config.vocab_size, (2, 64))
    keep = torch.ones(2, 64, dtype=torch.long)
    keep[1, 41:] = 0
    types = (torch.arange(64).expand(2, 64) >= 30).long().contiguous()
    hidden = (torch.rand(2, 64) < 0.15) & keep.bool()
    inputs = {"ids": ids, "keep": keep, "types": types, "labels": torch.where(hidden, ids, -100)}

    def run(model, inputs):
        out = model(inputs["ids"], attention_mask=inputs["keep"], token_type_ids=inputs["types"])
        return out.logits, F.cross_entropy(out.logits.flatten(0, 1), inputs["labels"].flatten())

    return model, inputs, run


def resnet50():
    from torchvision.models import resnet50 as make

    model = make(weights=None).train()
    inputs = {"images": torch.randn(4, 3, 224, 224), "labels": torch.randint(0, 1000, (4,))}

    def run(model, inputs):
        logits = model(inputs["images"].to(model.conv1.weight.dtype))
        return logits, F.cross_entropy(logits, inputs["labels"])

    return model, inputs, run


def results(model, inputs, run):
    """Everything that is compared, in the model's precision."""
    model = copy.deepcopy(model)
    logits, loss = run(model, inputs)
    loss.backward()
    out = {"logits": logits.detach(), "loss": loss.detach()}
    out |= {f"gradient.{name}": p.grad for name, p in model.named_parameters()}
    if model.training:
        out |= {f"buffer.{name}": b for name, b in model.named_buffers() if b.is_floating_point()}
    return out


def main():
    name, folder = sys.argv[1:]
    torch.manual_seed(1)
    torch.set_num_threads(2)
    model, inputs, run = {"gpt2": gpt2, "bert": bert, "resnet50": resnet50}[name]()
    with torch.no_grad():
        # Biases and norms begin at 0 and 1, which would hide mistakes.
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(0.1 * torch.randn_like(p))
    # Tied entries share memory, which the format does not take: copies of all.
    weights = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    save_file(weights, f"{folder}/weights.safetensors")
    save_file(inputs, f"{folder}/inputs.safetensors")
    single = results(model, inputs, run)
    double = results(model.double(), inputs, run)
    expected = {}
    for key, value in double.items():
        expected[key] = value.contiguous()
        expected[f"error.{key}"] = (single[key].double() - value).norm()
    save_file(expected, f"{folder}/expected.safetensors")
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters, loss {double['loss']:.6f}")


main()
