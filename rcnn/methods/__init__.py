"""The methods of the family, one short file each."""
