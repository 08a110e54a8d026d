"""Uploads the dump of control's database, named after the minute. Life cycle rules of the bucket limit their number."""

import os
import time

from pyarrow import fs

name = time.strftime("%Y-%m-%dT%H-%M", time.gmtime())
store, root = fs.FileSystem.from_uri(f"s3://{os.environ['BUCKET']}/kairos-control")
with open("/dump/control.dump", "rb") as dump, store.open_output_stream(f"{root}/{name}.dump") as upload:
    while part := dump.read(8 << 20):
        upload.write(part)
print(f"uploaded {name}.dump")
