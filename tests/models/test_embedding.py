"""Embeddings of tokens that occur train as in the whole table, and the others stay, whatever becomes of the network."""

import torch
from lightning.pytorch.callbacks import LambdaCallback

from gpt_classifier.models.freezing import PartlyTrainedEmbedding, freeze, freeze_other_tokens
from gpt_classifier.models.gpt import GPT, GPTConfig
from gpt_classifier.models.heads import SequenceClassifier


def trained_for_three_steps(chosen: bool) -> SequenceClassifier:
    torch.manual_seed(0)
    model = SequenceClassifier(GPT(GPTConfig(vocab_size=20, context_length=8, n_embd=8, n_layer=1, n_head=2)), 2)
    freeze(model, "all")
    if chosen:
        freeze_other_tokens(model.backbone, torch.tensor([1, 3, 7]))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.5)
    for ids in ([[1, 3]], [[3, 3]], [[7, 1]]):
        optimizer.zero_grad()
        model(torch.tensor(ids), torch.tensor([2])).square().sum().backward()
        optimizer.step()
    return model


def test_rows_of_tokens_that_occur_train_as_in_the_whole_embedding_and_the_others_stay():
    whole, chosen = (trained_for_three_steps(chosen).state_dict() for chosen in (False, True))
    assert whole.keys() == chosen.keys()
    for name in whole.keys() - {"backbone.wte.weight"}:
        torch.testing.assert_close(chosen[name], whole[name])
    seen = torch.zeros(20, dtype=torch.bool).index_fill(0, torch.tensor([1, 3, 7]), True)
    torch.testing.assert_close(chosen["backbone.wte.weight"][seen], whole["backbone.wte.weight"][seen])
    model = trained_for_three_steps(True)
    assert torch.equal(chosen["backbone.wte.weight"][~seen], model.backbone.wte.weight[~seen])
    assert not torch.equal(chosen["backbone.wte.weight"][seen], model.backbone.wte.weight[seen])


def test_a_partly_trained_embedding_is_saved_and_loaded_as_a_plain_one():
    model = trained_for_three_steps(True)
    plain = SequenceClassifier(GPT(model.backbone.config), 2)
    plain.load_state_dict(model.state_dict())
    ids, lengths = torch.tensor([[1, 9, 7]]), torch.tensor([3])  # 9 does not train
    torch.testing.assert_close(plain(ids, lengths), model(ids, lengths))
    again = trained_for_three_steps(True)
    again.load_state_dict(plain.state_dict())
    torch.testing.assert_close(again(ids, lengths), model(ids, lengths))
    freeze_other_tokens(again.backbone, torch.tensor([9]))  # as another fit of the same model would
    torch.testing.assert_close(again(ids, lengths), model(ids, lengths))
    assert again.backbone.wte.trained.shape == (1, 8)


def test_a_fitted_model_has_a_plain_embedding_again(quick_trainer, tiny_model, tiny_data):
    seen = []
    module = tiny_model(trainable="all")
    remember = LambdaCallback(on_train_start=lambda trainer, module: seen.append(type(module.model.backbone.wte)))
    quick_trainer(callbacks=[remember]).fit(module, tiny_data())
    assert seen == [PartlyTrainedEmbedding]
    assert type(module.model.backbone.wte) is torch.nn.Embedding
    assert module.model.backbone.wte.weight.requires_grad
