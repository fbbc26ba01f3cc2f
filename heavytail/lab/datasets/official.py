"""What is known about each data set: shapes, labels, normalisation, digests, where it comes from, whom to cite."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Official:
    """One data set as it was published.

    A digest names a split, whatever its order or container. One row is the bytes of its values in C order (`dtype`),
    then one byte with its original label; the digest is the sha256 of the sorted sha256 digests of the rows, joined.
    """

    name: str
    shape: tuple[int, ...]  # of one row as published: images are height x width (x channel)
    dtype: str
    labels: tuple[int, int]  # smallest and largest original label
    classes: tuple[int, ...]  # the class counts that can be asked for, the default first
    rows: tuple[int, int]  # train, test
    digests: tuple[str, str]  # train, test
    scale: float  # inputs are (value / scale - mean) / std, a mean and std for each channel
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: str  # what a user may put in the data folder, besides NAME.npz
    citation: str
    torchvision: str | None = None  # its class in torchvision.datasets, which lists the archives, their MD5 and mirrors
    by_digest: bool = False  # its rows are put in the order of their digests, as its files come in several orders
    mirrors: tuple[str, ...] = ()  # folders to download from, in this order; empty: those of torchvision
    of: str | None = None  # the data set whose rows these are, pooled and split anew; files and digests are that one's

    @property
    def base(self) -> Official:
        """The data set that is stored, downloaded and verified for it: the one it is a new split of, or itself."""
        return self if self.of is None else OFFICIAL[self.of]

    @property
    def most_rows(self) -> int:
        """Rows that a file of it can have; what claims more is something else."""
        return 2 * sum(self.rows)

    @property
    def most_bytes(self) -> int:
        """What a file of it can take, packed or not, in any layout; nothing larger is downloaded, unpacked or read.

        A byte is stored as such, any other number in 32 characters at most; a container adds less than a mebibyte.
        """
        numbers = self.most_rows * (math.prod(self.shape) + 1)
        return numbers * (1 if self.dtype == "|u1" else 32) + 2**20


_CIFAR_CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"

_ALL = (
    Official(
        # A small stand-in that needs no download. It is no data set of the paper. The split is ours: every fifth image
        # (index % 5 == 4) is a test image.
        name="digits",
        shape=(64,),
        dtype="|u1",
        labels=(0, 9),
        classes=(10,),
        rows=(1438, 359),
        digests=(
            "5c05f3d704dd42e8e1726918da65aef7bebb4cee17106c9b6e58e21e9ee79e9c",
            "159832919ca56d72f3ace90103d65ad62f5ed0f1b21f4c6bc12705c18429658f",
        ),
        scale=16.0,
        mean=(0.0,),
        std=(1.0,),
        files="nothing: the images ship with scikit-learn",
        citation="E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998",
    ),
    Official(
        # Single heartbeats: 1 normal, 2 R-on-T premature, 3 premature ventricular, 4 supraventricular, 5 unclassified.
        # Used raw [C]: the archive holds every series with mean zero already.
        name="ecg5000",
        shape=(140,),
        dtype="<f8",
        labels=(1, 5),
        classes=(2, 5),
        rows=(500, 4500),
        digests=(
            "157cda1c71a6e819e2494e2dddf78e6ff8f3a6fbfa45dab9b8363964ee80d0e4",
            "360a21176bde4e92963317dcd91a51da2c061f4c5f5e448cac5546b9a258945d",
        ),
        scale=1.0,
        mean=(0.0,),
        std=(1.0,),
        files="ECG5000_TRAIN and ECG5000_TEST as .tsv, .txt or .ts",
        citation="H. A. Dau et al., The UCR Time Series Archive, IEEE/CAA J. Automatica Sinica 6(6), 2019",
        mirrors=(
            "https://www.timeseriesclassification.com/aeon-toolkit/",
            "https://zenodo.org/records/11186692/files/",
        ),
    ),
    Official(
        name="mnist",
        shape=(28, 28),
        dtype="|u1",
        labels=(0, 9),
        classes=(10,),
        rows=(60000, 10000),
        digests=(
            "54e1ab866c9484947dd4821c52bb7a43938f555d6b046be6af55247f8e6ffc64",
            "97b756d55950f1841ebd48df7379b9b2fc87a10d63e08d6213dad41d564e8508",
        ),
        scale=255.0,
        mean=(0.1307,),
        std=(0.3081,),
        files="MNIST/raw/train-images-idx3-ubyte and its three companions",
        citation="Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST Database of Handwritten Digits, 1998",
        torchvision="MNIST",
    ),
    Official(
        name="cifar10",
        shape=(32, 32, 3),
        dtype="|u1",
        labels=(0, 9),
        classes=(10,),
        rows=(50000, 10000),
        digests=(
            "6a3b2c04d0a79ce272dcdacaf0bc440275db5a8cbe3717521a28fada2ea0d2ed",
            "65a6ffe079453e514083f99356b35e02cbfd581b4951e3937fae188974b79f39",
        ),
        scale=255.0,
        mean=(0.491, 0.482, 0.447),
        std=(0.247, 0.243, 0.262),
        files="the folder cifar-10-batches-py",
        citation=_CIFAR_CITATION,
        torchvision="CIFAR10",
    ),
    Official(
        # The labels are the 100 fine ones.
        name="cifar100",
        shape=(32, 32, 3),
        dtype="|u1",
        labels=(0, 99),
        classes=(100,),
        rows=(50000, 10000),
        digests=(
            "640c97a4012a8aebfcaf57fd82a33dd43b37d2e397a02cb9b0a3d89e6d6d936d",
            "a6a97df7b61bc7420bc44268696e8963d33129bc050978f2a63d8fe3420989fa",
        ),
        scale=255.0,
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        files="the folder cifar-100-python",
        citation=_CIFAR_CITATION,
        by_digest=True,
        torchvision="CIFAR100",
    ),
)

_STORED = {official.name: official for official in _ALL}

# ECG5000 as the paper may have it: "After random shuffling, we use 500 sequences for the training phase and 4500
# sequences for the test phase" [Q]. Whether that is a new split or the archive's own, of the same sizes, is not known.
_ANEW = replace(_STORED["ecg5000"], name="ecg5000-random", of="ecg5000")

OFFICIAL: dict[str, Official] = {**_STORED, _ANEW.name: _ANEW}
NAMES: tuple[str, ...] = tuple(OFFICIAL)


def published(dataset: str) -> Official | None:
    """What a table's data set is, or is another split of, among those published; None for any other.

    By its name: your own `ecg5000-shuffled@0123456789ab` stands for ecg5000.

    >>> published("ecg5000-shuffled@0123456789ab").name, published("mine@0123456789ab")
    ('ecg5000', None)
    """
    return OFFICIAL.get(dataset.partition("@")[0].partition("-")[0])


def chance(dataset: str) -> float:
    """The accuracy of a guess, one over the classes of a data set as `published` knows it; NaN for any other.

    >>> chance("mnist")
    0.1
    """
    official = published(dataset)
    return math.nan if official is None else 1 / official.classes[0]


def lookup(name: str) -> Official:
    """The data set of that name; ValueError, with the known names, if there is none."""
    if name not in OFFICIAL:
        raise ValueError(f"there is no data set {name!r}: choose one of {', '.join(NAMES)}")
    return OFFICIAL[name]
