"""The domain discriminator of CDAN (Long et al., NeurIPS 2018): from which of two domains does a vector come?"""

from torch import Tensor, nn


class DomainDiscriminator(nn.Module):
    """Two hidden layers with ReLU and dropout, and one logit; Xavier's initialisation and zero biases, as in CDAN.

    The reversal of its gradient is not in here: see `cmah.losses.domain_adaptation.conditional_adversarial_loss`.

    Args:
        width: of its inputs; for CDAN classes · dimensions, see `conditional_features` there.
        hidden: width of the hidden layers.
        dropout: in training, after each hidden layer.

    Examples:
        >>> import torch
        >>> tuple(DomainDiscriminator(width=21 * 16, hidden=32)(torch.rand(5, 21 * 16)).shape)
        (5,)
    """

    def __init__(self, width: int, hidden: int = 1024, dropout: float = 0.5) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)),
            *(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout)),
            nn.Linear(hidden, 1),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Features [n, width] to logits [n]; above 0 means the source domain."""
        return self.layers(features).squeeze(1)
