"""Small training sets, a plain training loop written by hand, and ways to compare weights."""

import torch
from torch import Tensor, nn

from rsc_mlflow.data import ImageSet, load_dataset
from rsc_mlflow.models import build, set_dropout_generator
from rsc_mlflow.names import DatasetName, ModelName
from rsc_mlflow.rng import torch_generator
from rsc_mlflow.training import Cohort, Member, TrainingConfig, TrainingData
from rsc_mlflow.training.augmentation import aug01
from rsc_mlflow.training.schedule import learning_rate_at

CPU = torch.device("cpu")
Weights = dict[str, Tensor]


def config(model: str = "ce-tor-MLP", **changes: object) -> TrainingConfig:
    options: dict[str, object] = {"epochs": 1, "batch_size": 32, "learning_rate": 0.01} | changes
    return TrainingConfig(ModelName.parse(model), **options)  # type: ignore[arg-type]


def digits(text: str = "digitsv20-20-0-0", count: int | None = None) -> TrainingData:
    """The training set of a dataset name, or its first ``count`` examples."""
    data = TrainingData.of(load_dataset(DatasetName.parse(text)))
    if count is None:
        return data
    return TrainingData(data.clean, data.replaced_indices, data.replaced_images, torch.arange(count))


def made_up(count: int, shape: tuple[int, int, int], classes: int = 10, seed: int = 0) -> TrainingData:
    """Uniform noise images with random labels, none replaced."""
    generator = torch_generator(seed, "images")
    images = torch.rand(count, *shape, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    return TrainingData(ImageSet(images, labels), torch.zeros(0, dtype=torch.int64), torch.zeros(0, *shape))


def dense(data: TrainingData) -> tuple[Tensor, Tensor]:
    """Images and labels of the examples that are trained on, as an ordinary pair of tensors."""
    images = data.clean.images.clone()
    images[data.replaced_indices] = data.replaced_images
    labels = data.clean.labels
    return (images, labels) if data.kept is None else (images[data.kept], labels[data.kept])


def trained(*members: Member, epochs: int | None = None) -> Cohort:
    """A cohort after ``epochs`` epochs (default: all)."""
    cohort = Cohort(members, 10, CPU)
    for report in cohort.epochs():
        if report.epoch == epochs:
            break
    return cohort


def plain_loop(data: TrainingData, options: TrainingConfig) -> nn.Module:
    """The training of one model as a textbook writes it: dense tensors, one module, ``torch.optim``."""
    seed = options.random_seed
    images, labels = dense(data)
    shape = tuple(images.shape[1:])
    name = options.model
    model = build(name.architecture, shape, 10, torch_generator(seed, "init"), name.augmentation).train()  # type: ignore[arg-type]
    set_dropout_generator(model, torch_generator(seed, "dropout"))
    optimizer = plain_optimizer(model, options)
    order, noise = torch_generator(seed, "batches"), torch_generator(seed, "noise")
    augmentation = torch_generator(seed, "augmentation")
    for epoch in range(1, options.epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(options, epoch)
        for batch in torch.randperm(len(images), generator=order).split(options.batch_size):
            x = images[batch]
            if options.model.augmentation == "aug01":
                x = aug01(x, augmentation)
            if options.input_noise:
                x = x + options.input_noise * torch.empty_like(x).normal_(generator=noise)
            optimizer.zero_grad()
            loss_by_hand(options.model.loss, model(x), labels[batch]).backward()
            if options.grad_clip:
                nn.utils.clip_grad_value_(model.parameters(), options.grad_clip)
            optimizer.step()
    return model


def loss_by_hand(loss: str, logits: Tensor, labels: Tensor) -> Tensor:
    """What an epoch minimizes, as PyTorch's own classes compute it."""
    if loss == "ce":
        return nn.CrossEntropyLoss()(logits, labels)
    wanted = torch.eye(logits.shape[1])[labels]
    if loss == "mse":
        return nn.MSELoss()(logits, wanted)
    wanted = wanted.clamp(min=1e-6)
    wanted[torch.arange(len(labels)), labels] -= 1e-6 * (logits.shape[1] - 1)
    return nn.KLDivLoss(reduction="mean")(logits.log_softmax(1), wanted)


def plain_optimizer(model: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer:
    parameters, rate, decay = model.parameters(), options.learning_rate, options.weight_decay
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=options.momentum, weight_decay=decay)
    if options.optimizer == "adam":
        return torch.optim.Adam(parameters, rate, weight_decay=decay)
    if options.optimizer == "adagrad":
        return torch.optim.Adagrad(parameters, rate, weight_decay=decay)
    return torch.optim.RMSprop(parameters, rate, momentum=options.momentum, weight_decay=decay)


def weights(cohort: Cohort, k: int = 0) -> Weights:
    return cohort.checkpoint(k).model


def furthest(one: Weights, other: Weights) -> float:
    """Largest absolute difference between two state dicts."""
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)


def relative_distance(one: Weights, other: Weights) -> float:
    """ℓ2 distance between two state dicts over the norm of the second."""
    difference = sum((one[key] - other[key]).double().square().sum().item() for key in one)
    return (difference / sum(value.double().square().sum().item() for value in other.values())) ** 0.5


def same(one: Weights, other: Weights) -> bool:
    """Bitwise equality."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
