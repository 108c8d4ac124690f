# The generated data set of tools/make_demo_data.py, in the layout of ExLPose.
_base_ = ['exlpose.py']

data_root = '{{$DATA_ROOT:data/demo}}'
