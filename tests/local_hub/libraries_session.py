"""What a user's libraries do with a Hub, in a process whose environment points there; prints what came of it as JSON.

Run by test_libraries.py: transformers and datasets read HF_ENDPOINT when they are imported.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROWS = [{"question": f"question {number}", "answer": f"answer {number}"} for number in range(5)]
WORDS = {word: index for index, word in enumerate(["<unk>", "</s>", "how", "are", "you"])}


def tiny_model() -> LlamaForCausalLM:
    config = LlamaConfig(vocab_size=len(WORDS), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32)  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="</s>")


def same_answer(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ids = torch.tensor([[2, 3, 4]])
    with torch.no_grad():
        return torch.equal(one(ids).logits, other(ids).logits)


def a_model_and_its_tokenizer() -> dict[str, object]:
    pushed = tiny_model()
    pushed.push_to_hub("alice/tiny", private=True)
    tokenizer().push_to_hub("alice/tiny")
    pulled = AutoModelForCausalLM.from_pretrained("alice/tiny").eval()
    ids = AutoTokenizer.from_pretrained("alice/tiny")("how are you").input_ids
    return {"model": same_answer(pushed, pulled), "token ids": ids}


def an_adapter_on_it() -> dict[str, object]:
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    pushed = get_peft_model(AutoModelForCausalLM.from_pretrained("alice/tiny"), lora).eval()
    pushed.push_to_hub("alice/tiny-adapter")
    base = AutoModelForCausalLM.from_pretrained("alice/tiny").eval()
    without = base(torch.tensor([[2, 3, 4]])).logits
    pulled = PeftModel.from_pretrained(base, "alice/tiny-adapter").eval()
    changed = not torch.equal(without, pulled(torch.tensor([[2, 3, 4]])).logits)
    return {"adapter": same_answer(pushed, pulled), "adapter changes the base": changed}


def datasets_of_rows(folder: Path) -> dict[str, object]:
    api = HfApi()
    Dataset.from_list(ROWS).to_parquet(folder / "train.parquet")
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    for kind in ("jsonl", "parquet"):
        api.create_repo(f"alice/{kind}", repo_type="dataset")
        api.upload_file(path_or_fileobj=folder / f"train.{kind}", path_in_repo=f"data/train.{kind}",
                        repo_id=f"alice/{kind}", repo_type="dataset")  # fmt: skip
    head = api.dataset_info("alice/jsonl").sha
    pinned = load_dataset("alice/jsonl", split="train", revision=head)
    streamed = load_dataset("alice/parquet", split="train", streaming=True)
    Dataset.from_list(ROWS).push_to_hub("alice/pushed")
    return {
        "jsonl": pinned.to_list() == ROWS,
        "parquet": load_dataset("alice/parquet", split="train").to_list() == ROWS,
        "streamed": list(streamed) == ROWS,
        "pushed": load_dataset("alice/pushed", split="train").to_list() == ROWS,
    }


if __name__ == "__main__":
    print(json.dumps(a_model_and_its_tokenizer() | an_adapter_on_it() | datasets_of_rows(Path(sys.argv[1]))))
